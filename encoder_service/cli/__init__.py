"""The ``nrv`` command line: a thin layer over the codec and, remotely, the service."""
