"""What can happen to the contents of a file."""


def flipped(contents, place):
    place %= len(contents)
    return contents[:place] + bytes([contents[place] ^ 16]) + contents[place + 1 :]


DAMAGES = {
    "empty": lambda contents: b"",
    "short": lambda contents: contents[:20],
    "cut off": lambda contents: contents[: len(contents) // 2],
    "one byte less": lambda contents: contents[:-1],
    "one byte more": lambda contents: contents + b"\0",
    "zeros": lambda contents: bytes(len(contents)),
    "a page of zeros": lambda contents: contents[:1024] + bytes(2048) + contents[3072:],
    "zeros at the end": lambda contents: contents[:-512] + bytes(512),
    **{f"bit in {place}": lambda contents, place=place: flipped(contents, place) for place in (0, 15, 16, 47, 48, -1)},
    **{
        f"bit at {share}": lambda contents, share=share: flipped(contents, len(contents) * share // 8)
        for share in range(1, 8)
    },
}  # fmt: skip
