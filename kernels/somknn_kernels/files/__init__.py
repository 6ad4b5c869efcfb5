"""Files: numbers from their text.

| file | what it computes |
| --- | --- |
| `text_of_bytes.py` | rows of whole numbers from 0 to 255, from lines of cells |

    "7,0,255\\n12,3,4"  ->  [[7, 0, 255], [12, 3, 4]]          rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
"""
