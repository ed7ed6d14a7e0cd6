"""The service: jobs, storage, API and command line."""
