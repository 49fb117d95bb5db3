"""A stand-in for illumos' Service Management Facility: a Linux machine, or a folder, that plays a SmartOS zone.

``installing.install`` puts the commands on a machine, ``playground.Playground`` into a folder for one test. All of them
are one program (program.py) called by its names; ``restarter.py`` is the process that really runs the services.
"""
