"""The command line: `main` holds `medsr` itself, `data` and `train` the commands of these names."""
