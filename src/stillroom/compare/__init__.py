"""Several variants of one recipe over several seeds, compared in pairs: file, runs, statistics, table."""
