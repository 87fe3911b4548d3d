"""What people do about incidents (§10), as jobs."""
