"""Intersection by Diffie and Hellman: both sides raise what both have to the power of both keys.

Small and not for real secrets; messages are numbers, one a line.
"""

import hashlib
import secrets
from math import gcd
from types import SimpleNamespace

_PRIME = 2**521 - 1


class _Numbers:
    def __init__(self, numbers=()):
        self.numbers = list(numbers)

    def SerializeToString(self):
        return "\n".join(map(str, self.numbers)).encode()

    def ParseFromString(self, data):
        self.numbers = [int(line) for line in data.split()]


ServerSetup = Request = Response = _Numbers
DataStructure = SimpleNamespace(BLOOM_FILTER=1)


class _Party:
    def __init__(self):
        self._key = 0
        while gcd(self._key, _PRIME - 1) != 1:
            self._key = secrets.randbelow(_PRIME - 3) + 2

    def _raise(self, numbers):
        return [pow(n, self._key, _PRIME) for n in numbers]

    def _hidden(self, items):
        hashed = (hashlib.sha512(item.encode()).digest() for item in items)
        return self._raise(int.from_bytes(digest, "big") % _PRIME for digest in hashed)


class _Server(_Party):
    def CreateSetupMessage(self, _fpr, _size, items, _structure):
        return _Numbers(sorted(self._hidden(items)))

    def ProcessRequest(self, request):
        return _Numbers(self._raise(request.numbers))


class _Client(_Party):
    def CreateRequest(self, items):
        return _Numbers(self._hidden(items))

    def GetIntersection(self, setup, response):
        back, theirs = pow(self._key, -1, _PRIME - 1), set(setup.numbers)
        return [i for i, n in enumerate(response.numbers) if pow(n, back, _PRIME) in theirs]


client = SimpleNamespace(CreateWithNewKey=lambda _reveal: _Client())
server = SimpleNamespace(CreateWithNewKey=lambda _reveal: _Server())
