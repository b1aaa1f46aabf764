"""Services and messages of gRPC without generated code: descriptors, values, reflection. Pure, without I/O."""
