"""Writes a screenshot as a PNG file with a palette: a third of the size of what a browser writes."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from playwright.sync_api import Browser

__all__ = ["write_small_png"]

_COLOURS: Final = 256
_PIXELS: Final = """async (png) => {
  const image = await createImageBitmap(await (await fetch("data:image/png;base64," + png)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const pixels = canvas.getContext("2d").getImageData(0, 0, image.width, image.height).data;
  let text = "";
  for (let n = 0; n < pixels.length; n += 32768) text += String.fromCharCode(...pixels.subarray(n, n + 32768));
  return [image.width, image.height, btoa(text)];
}"""


def write_small_png(browser: Browser, png: bytes, to: Path) -> None:
    """Write a PNG image to a file with at most 256 colours: with as many bits a channel as give no more of them."""
    page = browser.new_page()
    width, height, text = page.evaluate(_PIXELS, base64.b64encode(png).decode())
    page.close()
    pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height * width, 4)[:, :3].astype(np.uint16)
    for levels in (256, 128, 64, 32, 16, 8, 6):
        # Rounded to levels that include black and white.
        rounded = np.rint(np.rint(pixels * ((levels - 1) / 255)) * (255 / (levels - 1))).astype(np.uint8)
        palette, indices = np.unique(rounded, axis=0, return_inverse=True)
        if len(palette) <= _COLOURS:
            break
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = indices.reshape(height, width)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), 9)
    chunks = ((b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", data), (b"IEND", b""))
    to.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
