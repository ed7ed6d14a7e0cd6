"""`nrv bench service`: how fast the service is, measured from outside."""
