#!/bin/bash
# A Spark Thrift server that knows the Delta tables of transit, in the Spark image. Packages come from Maven's repository
# at the first start and are kept in a volume.
set -eu
spark=${SPARK_HOME:-/opt/spark} packages=/tmp/packages
# The server's sessions do not see the classes that --packages brings to it. So a statement fetches them, and the server has them
# on its class path.
if [ ! -e "$packages/complete" ]; then
    "$spark/bin/spark-sql" --packages io.delta:delta-spark_2.12:3.3.2,org.apache.hadoop:hadoop-aws:3.3.4 \
        --conf spark.jars.ivy="$packages" --conf spark.sql.catalogImplementation=in-memory -e 'SELECT 1'
    touch "$packages/complete"
fi
export SPARK_NO_DAEMONIZE=true
exec "$spark/sbin/start-thriftserver.sh" \
    --driver-class-path "$packages/jars/*" \
    --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension \
    --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog \
    --conf spark.sql.warehouse.dir="$DELTA_LAKE_PATH" \
    --conf spark.hadoop.fs.s3a.endpoint=http://minio:9000 \
    --conf spark.hadoop.fs.s3a.path.style.access=true \
    --conf spark.hadoop.fs.s3a.access.key="$MINIO_ROOT_USER" \
    --conf spark.hadoop.fs.s3a.secret.key="$MINIO_ROOT_PASSWORD" \
    --hiveconf hive.server2.thrift.port=10000 \
    --hiveconf hive.server2.thrift.bind.host=0.0.0.0
