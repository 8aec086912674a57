"""The command line: one module per subcommand, each a thin layer over its room. Open ``main.py`` first."""
