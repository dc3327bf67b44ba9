"""The formats that `relay import` reads, a module each: a relay's own export, a Slack export, a Mattermost bulk export.

`detect.py` recognises them. `archive.py`, `dates.py` and `programs.py` are what several of them need.
"""
