"""What this machine can carry: a load generator, and a relay on a scratch directory for it (`relay bench`)."""
