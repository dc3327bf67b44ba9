"""The benchmark of this machine: a load generator, and a temporary relay for it (`relay bench`)."""
