"""What keeps a relay healthy: retention, the check, statistics, and room on the disk."""
