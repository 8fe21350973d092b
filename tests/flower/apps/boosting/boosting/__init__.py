"""Trees as bytes: FedXgbBagging and FedXgbCyclic, with xgboost where it is installed."""
