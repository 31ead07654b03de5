"""`python -m medsr_workbook`: the command `medsr`."""

from medsr_workbook.commands.main import main

main(prog_name="medsr")
