"""Environment and repository inventories, reconciliation and drift: the partitioned assets."""
