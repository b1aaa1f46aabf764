"""The runs of a folder as a collection: listed, searched, labelled, deleted, carried to a bucket and back."""
