"""Objects of the API as the trials write them into a cluster's manifests (Cluster.put): dual-stack Services and their slices."""

from cluster import PODS

BOTH = ("TCP", "UDP")


def service(name, addresses, port, target, protocols=("TCP",), statuses=(), node_port=None, **spec):
    """A Service at one address, or at an IPv4 and an IPv6 one; spec: what else its spec holds."""
    ports = [{"name": one.lower(), "protocol": one, "port": port, "targetPort": target} for one in protocols]
    for one in ports if node_port else ():
        one["nodePort"] = node_port
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "demo"},
            "spec": {"clusterIP": addresses[0], "clusterIPs": list(addresses), "ipFamilies": [family(one) for one in addresses],
                     "ipFamilyPolicy": "PreferDualStack", "ports": ports, **spec},
            "status": {"loadBalancer": {"ingress": [{"ip": one} for one in statuses]}}}


def slices(of, cluster, pods, port, protocols=("TCP",), families=("IPv4", "IPv6")):
    """The EndpointSlices of a Service whose endpoints are these pods of the demo, ready."""
    for one in families:
        address = cluster.v4 if one == "IPv4" else cluster.v6
        yield {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": one,
               "metadata": {"name": f"{of}-{one.lower()}", "namespace": "demo", "labels": {"kubernetes.io/service-name": of}},
               "ports": [{"name": protocol.lower(), "protocol": protocol, "port": port} for protocol in protocols],
               "endpoints": [{"addresses": [address(pod)], "conditions": {"ready": True}, "nodeName": PODS[pod]} for pod in pods]}


def host_pod(name, on, addresses, labels):
    """A running hostNetwork pod."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo", "labels": labels},
            "spec": {"nodeName": on, "hostNetwork": True, "containers": [{"name": "main", "image": "none"}]},
            "status": {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses]}}


def node(name, addresses, cidr):
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
            "status": {"addresses": [{"type": "InternalIP", "address": one} for one in addresses]}}


def family(address):
    return "IPv6" if ":" in address else "IPv4"
