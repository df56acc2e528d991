"""Reports and exports: periods, totals, pictures and files."""
