//! What the CRDs of the Gateway API v1.7.0 refuse, refused here too, and their defaults filled in.
