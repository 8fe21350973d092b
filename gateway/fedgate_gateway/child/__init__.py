"""Child processes: where framework and user code runs, without network and without keys.

A parent (enclave host or site agent) talks to its child over a SEQPACKET socket pair; tensors
cross in memfds. The parent never trusts what a child sends: every message is bounded and parsed
strictly, and a shared buffer must be sealed against shrinking before it is mapped.
"""
