"""The admin requests of `relay import`: users, chats, messages and files of another system, each imported once.

Imported data goes through the log like everything else, as commands in the role of the importer (`Command.importer`).
The log's time never goes backwards and never ahead of the clock; a message keeps its own date beside the log's.

An import that is repeated skips what is here already. It ends in the same state whether or not an earlier attempt was
cut off: read receipts follow from what is unread (`receipts.py`), and the time is kept (`imports.IMPORT_CURSOR`).
"""
