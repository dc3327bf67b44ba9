"""The wire protocol between a client and the relay, as types and as bytes.

Envelopes, requests, events, objects and errors, and the codec between them and JSON. No I/O, no clock, no trio, and no
imports from other rooms.
"""
