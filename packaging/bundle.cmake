# Makes NAME.tar.gz: the launcher, the program, every library that it links or loads, and the dynamic linker.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${PROGRAM} LIBRARIES ${CURL}
  RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing)
if(missing)
  message(FATAL_ERROR "libraries that are not there: ${missing}")
endif()

file(REMOVE_RECURSE ${NAME})
file(MAKE_DIRECTORY ${NAME}/bin ${NAME}/lib/kfhost)
file(COPY ${LAUNCHER} DESTINATION ${NAME}/bin)
file(COPY ${PROGRAM} DESTINATION ${NAME}/lib/kfhost)
foreach(library ${libraries})
  file(COPY ${library} DESTINATION ${NAME}/lib/kfhost FOLLOW_SYMLINK_CHAIN)
endforeach()
file(REAL_PATH ${CURL} curl)
file(COPY_FILE ${curl} ${NAME}/lib/kfhost/libcurl.so.4)  # by the name that it is loaded by
file(COPY ${SOURCE}/LICENSE ${SOURCE}/README.md DESTINATION ${NAME})
execute_process(COMMAND ${STRIP} ${NAME}/bin/kfhost ${NAME}/lib/kfhost/kfhost COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} -E tar czf ${NAME}.tar.gz ${NAME} COMMAND_ERROR_IS_FATAL ANY)
message(STATUS "${NAME}.tar.gz")
