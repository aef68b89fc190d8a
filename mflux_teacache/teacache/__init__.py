"""TeaCache: predict from a cheap signal how much the body's output will change, and skip while it is little."""
