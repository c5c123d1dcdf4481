"""A server for a class: one warm process is forked for each visitor.

``forks`` is the warm process, ``provisioner`` asks it for kernels, ``app`` is Voilà with a limit on
visitors, and ``python -m insitu_widgets.classroom`` starts it all.
"""
