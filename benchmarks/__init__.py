"""Native Flower and FLARE beside Fedgate, on the same workloads, in the same run."""
