"""The admin requests of `relay import`: users, chats, messages and files of another system, each imported once.

Imported data goes through the log like everything else, as commands marked as an import (`Command.importer`).
The log's time never goes backwards and never ahead of the clock; a message keeps its own date beside the log's.

A repeated import skips everything that was imported before. It ends in the same state whether or not an earlier attempt
was cut off: read receipts follow from the unread messages (`receipts.py`), and the start time is stored
(`imports.IMPORT_CURSOR`).
"""
