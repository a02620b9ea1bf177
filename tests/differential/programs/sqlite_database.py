# stays: yes
# hide: connection cursor folder database
import sqlite3
import tempfile
folder = tempfile.mkdtemp(prefix="kf-sql-")
database = folder + "/a.db"
connection = sqlite3.connect(database)
connection.execute("create table t (a int, b text)")
connection.executemany("insert into t values (?, ?)", [(1, "x"), (2, "y")])
connection.commit()
rows = connection.execute("select * from t order by a").fetchall()
print(rows)
cursor = connection.cursor()
total = cursor.execute("select sum(a) from t").fetchone()[0]
print(total)
connection.close()
again = sqlite3.connect(database).execute("select count(*) from t").fetchone()
print(again)
summary = {"rows": len(rows), "total": total}
print(summary)
