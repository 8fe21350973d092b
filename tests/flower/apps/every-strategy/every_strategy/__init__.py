"""Each strategy of flwr.serverapp that averages or selects, one after the other."""
