"""What is seen across environments: the workflow matrix."""
