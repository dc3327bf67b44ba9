"""The formats that `relay import` reads, one module each: a relay's own export, Slack's, Mattermost's bulk export.

`detect.py` recognises them. Several of them share `archive.py`, `dates.py` and `programs.py`.
"""
