"""Files: numbers from their text, and from the pages of tables.

| file | what it computes |
| --- | --- |
| `text_of_bytes.py` | rows of whole numbers from 0 to 255, from lines of cells |
| `parquet_pages.py` | levels of lists of one length, and dictionary entries, from the runs of a Parquet page |

    "7,0,255\\n12,3,4"  ->  [[7, 0, 255], [12, 3, 4]]          rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
"""
