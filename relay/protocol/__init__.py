"""What a client and the relay say to each other, as types and as bytes.

Envelopes, requests, events, objects and errors of the wire protocol, and the codec between them and
JSON. No I/O, no clock, no trio, and nothing else of ours is imported here.
"""
