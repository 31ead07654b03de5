"""The workbook around the science: lessons, exercises, figures, widgets, the reader study, the runner and the commands.

It knows `medsr_core` and `data_fetch`; neither knows it.
"""

import medsr_core as medsr_core  # before torch, for the threads: see there
