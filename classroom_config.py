"""The classroom: one server for a class on one machine. ``make classroom`` reads this file.

Each line shows the value that holds without it, too. More on each, and sizes of machines, in
docs/classroom.md. The port is make's: ``make classroom PORT=8867``.
"""

import os

c = get_config()  # noqa: F821  (Jupyter reads this file and provides it)

# ---- Who may come in

# What the class types; at least 8 characters. Empty: a new one is made and printed at each start.
c.Classroom.password = os.environ.get("CLASSROOM_PASSWORD", "")

# Where it listens: every network of this machine; "127.0.0.1" behind a proxy that speaks HTTPS.
c.Voila.ip = "0.0.0.0"  # noqa: S104  (that is what a class needs)

# ---- How many

# Largest number of pages open at a time; whoever comes then reads that every place is taken, and
# is let in when one is free. docs/classroom.md says how much memory each takes.
c.Classroom.visitors = 40

# Kernels that wait with the front page ready, so that the next visitors find it at once.
c.Classroom.pool = 3

# A kernel that no page shows is ended after so many seconds. (A closed tab ends its kernel at once;
# this is for laptops that were shut, and networks that were lost.)
c.MappingKernelManager.cull_idle_timeout = 300
c.MappingKernelManager.cull_interval = 30

# ---- What they see

# The folder of notebooks; each is at /voila/render/NAME.ipynb, and the front page at /.
c.Voila.root_dir = "notebooks"
c.Classroom.front_page = "dashboard.ipynb"

# The notebooks that each page links to, in this order; empty: all of the folder. Others can be
# opened by whoever knows their address.
c.Classroom.pages = []

# Files beside the notebooks that a page may show, as regular expressions: none.
c.VoilaConfiguration.file_allowlist = []

# ---- How

# Kernels are forked from one process that has imported everything (Linux). False: each starts anew.
c.Classroom.fork = True

# A cell that runs for so many seconds while its page opens is interrupted, and the page says so.
c.VoilaExecutor.timeout = 120

# "INFO" tells of every page and kernel. Exceptions in kernels are in the log at any level.
c.Voila.log_level = "WARN"
