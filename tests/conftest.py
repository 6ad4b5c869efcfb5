from hypothesis import settings

# A first call may compile for seconds: a deadline would fail whichever test comes first.
settings.register_profile("somknn", deadline=None)
settings.load_profile("somknn")
