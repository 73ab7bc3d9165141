// One decoder and one encoder a kind: the pieces of kube/decode. Not for others.
#pragma once

#include "kube/field.h"
#include "kube/object.h"

namespace thalweg::kube {

// Each fills what is its own; meta is already decoded. What is wrong is in the field's error.
void decode_kind(const Field& root, Node& node);
void decode_kind(const Field& root, Namespace& ns);
void decode_kind(const Field& root, Pod& pod);
void decode_kind(const Field& root, Service& service);
void decode_kind(const Field& root, EndpointSlice& slice);
void decode_kind(const Field& root, NetworkPolicy& policy);
void decode_kind(const Field& root, Ingress& ingress);
void decode_kind(const Field& root, Secret& secret);

Protocol decode_protocol(const Field& field);  // absent: TCP
PortRef decode_port_ref(const Field& field);   // IntOrString

// Each adds spec, status and so on beside the metadata.
void encode_kind(const Node& node, boost::json::object& root);
void encode_kind(const Namespace& ns, boost::json::object& root);
void encode_kind(const Pod& pod, boost::json::object& root);
void encode_kind(const Service& service, boost::json::object& root);
void encode_kind(const EndpointSlice& slice, boost::json::object& root);
void encode_kind(const NetworkPolicy& policy, boost::json::object& root);
void encode_kind(const Ingress& ingress, boost::json::object& root);
void encode_kind(const Secret& secret, boost::json::object& root);

boost::json::object encode_labels(const Labels& labels);

// RFC 4648 base64, as Secrets and kubeconfigs carry it.
Result<std::string> decode_base64(std::string_view text);
std::string encode_base64(std::string_view bytes);

}  // namespace thalweg::kube
