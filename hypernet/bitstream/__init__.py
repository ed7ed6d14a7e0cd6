"""The ``.nrv`` stream: integers and bytes only. FORMAT.md beside this file is normative."""
