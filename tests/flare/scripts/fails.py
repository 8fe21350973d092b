"""A Client API script that cannot read its data."""

import nvflare.client as flare

flare.init()
flare.receive()
raise RuntimeError("this site's data is unusable")
