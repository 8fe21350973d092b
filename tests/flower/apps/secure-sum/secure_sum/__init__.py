"""DefaultWorkflow with the SecAgg+ workflow and mod."""
