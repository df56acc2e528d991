"""Storage: values and their rules, repositories, the job queue and the database."""
