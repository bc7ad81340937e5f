"""The four fake vendors: served by `demo` and `sandbox`, called directly by the tests."""
