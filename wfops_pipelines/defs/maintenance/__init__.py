"""What keeps the installation itself in order: partitions, runs whose process is gone, old files."""
