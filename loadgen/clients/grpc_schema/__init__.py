"""Services and messages of gRPC without generated code: descriptors, values, reflection's messages. Pure, without I/O."""
