"""What options that many tasks have are called in their help."""

CLUSTER = "name of the cluster (default: ipython)"
TEMPLATE = "which template of the settings to use (default: local, or what the cluster was made with)"
MACHINE = "one machine, by the name that status shows (default: all)"
YES = "do not ask"
ADOPT = "also when the cluster is not in this computer's record"
ON = "controller, engines, all, or names of machines with commas between them (default: all)"
