"""A front door on the submitter's own machine: it signs what comes in, and forwards the rest."""
