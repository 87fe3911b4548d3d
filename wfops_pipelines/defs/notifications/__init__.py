"""What people are told: sending it, and looking at alert rules. Inside sensor ticks, not as runs (design decision 11)."""
