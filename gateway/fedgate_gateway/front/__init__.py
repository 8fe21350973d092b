"""The front office: what lets a framework's own command talk to this gateway.

Doors (:mod:`fedgate.front_door`) translate protocols; everything that decides or keeps is in here.
"""
