"""A Kubernetes cluster as a place to run in: any by its kubeconfig, or the one that lab/ boots in namespaces."""
