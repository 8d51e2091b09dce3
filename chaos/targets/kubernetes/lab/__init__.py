"""A real Kubernetes of our own, in the namespaces of a netns lab: no Docker, no registry, gone when its init dies.

programs.py   what it is made of, built or fetched once a machine; build/ has the Go modules
images.py     container images from local files
plan.py       who is where, and every command line. Pure
node-boot.sh  how a node is furnished whenever it gets power
cluster.py    boots it, and has the powers that only an owner of nodes has
forward.py    the API server's port, from outside
"""
